"""affectstream: streaming speech-and-video emotion analytics.

The public face of the product; everything here is re-exported.

    import affectstream

    result = affectstream.replay("call.wav", channels="left=customer,right=agent")
    for event in result.events:
        print(event.start_ms, event.participant, event.label, event.explanation)
"""

from importlib.metadata import version

from extractors.errors import AffectstreamError, InputError
from fusion.events import EmotionEvent, Evidence, ModalityUse
from streams.replay import Replay, ReplayOptions, replay

__version__ = version("affectstream")
__all__ = ["AffectstreamError", "EmotionEvent", "Evidence", "InputError", "ModalityUse", "Replay", "ReplayOptions", "__version__", "replay"]
