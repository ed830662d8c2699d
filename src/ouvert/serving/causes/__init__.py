"""/ouvert/patches, /ouvert/ablations, /ouvert/microscopes and /ouvert/directions: causes looked for.

For the owner and for keys with the scope inspect; directions are made and removed by the owner alone.
docs/formats/patch.md, microscope.md and direction.md have the JSON.
"""

from ouvert.serving.causes.endpoints import ENDPOINTS
from ouvert.serving.causes.studies import Studies

__all__ = ["ENDPOINTS", "Studies"]
