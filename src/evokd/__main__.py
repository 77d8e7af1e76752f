"""`python -m evokd` is `evokd`."""

import sys

from evokd.cli import main

sys.exit(main())
