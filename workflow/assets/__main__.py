"""`python -m workflow.assets`."""

import sys

from workflow.assets.command import main

sys.exit(main())
