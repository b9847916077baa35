"""Python faces of the core's objects: they add what is seldom called, the core does the rest."""

from procession._shared import wiring as wiring  # the core knows us before the first object exists
