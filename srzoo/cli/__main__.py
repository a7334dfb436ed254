"""`python -m srzoo.cli`, which is what torchrun is given."""

import sys

from srzoo.cli import main

sys.exit(main())
