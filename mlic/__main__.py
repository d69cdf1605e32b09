"""``python -m mlic`` is the command ``mlic``."""

from mlic_command import main

if __name__ == '__main__':
    main()
