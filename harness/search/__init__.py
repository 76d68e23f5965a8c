"""Searching: a study asks for settings, gives each the seeds that it earns, and remembers all of it.

`harness.search(...)` is the function of `harness.api`.
"""

from harness.core.callable_package import make_callable

make_callable(__name__)
