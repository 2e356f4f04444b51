"""Processors that come with Frameloom, and how a processor is found from what `site.yaml` says.

Importing this package loads no processor: OpenCV and models come with `resolve`, in the process that runs
them. What a processor declares is said by `frameloom.processors.describe`; what runs one is
`frameloom.workers`.
"""

from frameloom.processors.loading import BUILT_IN, resolve

__all__ = ["BUILT_IN", "resolve"]
