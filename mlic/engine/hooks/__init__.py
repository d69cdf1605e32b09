"""One hook a file, registered in mmpretrain's HOOKS."""
