"""How shared things travel between processes, and the standard library's part in it."""

from procession._base import owner_death as owner_death  # wires the core before the first handle is opened
