"""`python -m policyguard`.

Layer: cli. Start reading at `policyguard.cli`.
"""

import sys

from policyguard.cli import main

if __name__ == "__main__":
    sys.exit(main())
