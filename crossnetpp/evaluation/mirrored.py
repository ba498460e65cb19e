"""A network whose results for four mirrored versions of a picture are averaged."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from crossnetpp.evaluation.methods import Enhanced, Method
from crossnetpp.evaluation.scenes import Material, Picture, Reference
from crossnetpp.networks.mirroring import average_mirrored
from crossnetpp.networks.taps import Taps


class MirroredMethod:
    """A method whose results for mirrored versions are averaged, as with `--effort best`."""

    def __init__(self, name: str, method: Method) -> None:
        self.name = name
        what = f"{method.about.what}, the mean of four mirrored versions"
        self.about = method.about._replace(what=what)
        self._method = method

    def prepare(self, material: Material, taps: Taps | None) -> str:
        """Prepare the method for a recording, and return its remark for the report."""
        return self._method.prepare(material, taps)

    def enhance(self, lr: Picture, references: Sequence[Reference], taps: Taps | None) -> Enhanced:
        """Return the mean of the method's results, and the warped reference of the first one."""
        found: list[Enhanced] = []

        def enhance(lr: Picture, pictures: list[Picture], taps: Taps | None) -> Picture:
            mirrored = [
                Reference(picture, reference.distance)
                for picture, reference in zip(pictures, references, strict=True)
            ]
            found.append(self._method.enhance(lr, mirrored, taps))
            return found[-1].sr

        pictures = [reference.picture for reference in references]
        mean = average_mirrored(enhance, lr, pictures, taps)
        return found[0]._replace(sr=np.asarray(np.rint(mean), np.uint8))
