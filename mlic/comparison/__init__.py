"""Methods under one recipe: what ``mlic compare`` does, in parts."""

LEAST_TO_TUNE = 50  # training images, of which a fifth chooses the learning rate
