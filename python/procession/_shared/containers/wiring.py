"""What the core's containers call above themselves, told to it once."""

from procession import _native
from procession._shared.containers import base, keys
from procession._shared.containers.counters import Counter
from procession._shared.containers.dicts import Namespace, SharedDict
from procession._shared.containers.lists import SharedList
from procession._shared.containers.sets import SharedSet
from procession._wire import contents

_native.set_container_hooks(
    dumps=contents.dumps,
    loads=contents.loads,
    canonical=keys.canonical,
    lock=base.lock_of,
    # The order is part of what lies in containers.
    faces=[SharedDict, SharedList, SharedSet, Namespace, Counter],
)
