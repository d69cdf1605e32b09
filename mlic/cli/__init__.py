"""What tools/*.py and the command `mlic` run."""
