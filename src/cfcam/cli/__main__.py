"""``python -m cfcam.cli``."""

from cfcam.cli import main

if __name__ == "__main__":
    main()
