"""`python -m workflow.assets`: the command of workflow/assets/registry.py."""

import sys

from workflow.assets.registry import main

sys.exit(main())
