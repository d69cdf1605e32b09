"""Methods under one recipe: what ``mlic compare`` does, in parts."""
