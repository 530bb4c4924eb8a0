"""``python -m vqvae`` is the command ``vqvae``."""

from vqvae.cli import main

if __name__ == "__main__":
    main()
