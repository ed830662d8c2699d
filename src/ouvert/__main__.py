"""`python -m ouvert`: the command, where its own name is not on the path."""

import sys

from ouvert.cli import main

sys.exit(main())
