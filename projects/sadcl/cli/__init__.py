"""What SADCL alone needs on the command line."""
