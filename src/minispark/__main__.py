"""``python -m minispark``."""

from minispark.cli import main

if __name__ == "__main__":
    main()
