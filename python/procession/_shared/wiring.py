"""What the core calls and raises above itself, told to it once."""

from procession import _native
from procession._base import owner_death
from procession._base.errors import ArenaLostError, StaleHandleError, UnsupportedPlatformError
from procession._shared import sites
from procession._shared.locks import RLock
from procession._wire import farewell, waiting

_native.set_hooks(
    owner_died=owner_death.warn_of_takeover,
    owner_died_error=owner_death.refuse,
    interrupted=waiting.tell,
    rlock=RLock,
    stale_handle=StaleHandleError,
    arena_lost=ArenaLostError,
    unsupported=UnsupportedPlatformError,
)
farewell.watch()
sites.enable_if_asked()
