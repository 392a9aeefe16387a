"""`python -m restart_art`."""

import sys

from .cli import main

sys.exit(main())
