"""`python -m captcha_lib` is the command `captcha-lib`."""

import sys

from captcha_lib.commands.main import main

if __name__ == "__main__":
    sys.exit(main())
