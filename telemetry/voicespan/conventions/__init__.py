"""Every name that Voicespan emits, with type, unit, origin and stability. A rename touches this package only.

Constants are plain strings, each in the module of its kind, and all of them here: `from voicespan import conventions
as c`. The tables hold what is known of them, and the reference page and the registry in docs/ are made from these.
"""

from voicespan.conventions.attributes import *
from voicespan.conventions.events import *
from voicespan.conventions.groups import IDENTITY as IDENTITY
from voicespan.conventions.groups import SESSION_TOTALS as SESSION_TOTALS
from voicespan.conventions.metrics import *
from voicespan.conventions.spans import *
from voicespan.conventions.tables import ATTRIBUTES as ATTRIBUTES
from voicespan.conventions.tables import EVENTS as EVENTS
from voicespan.conventions.tables import METRICS as METRICS
from voicespan.conventions.tables import SPANS as SPANS
from voicespan.conventions.values import *
