"""A network whose results for four mirrored versions of a picture are averaged."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from crossnetpp.evaluation.methods import Enhanced, Method
from crossnetpp.evaluation.scenes import Material, Picture, Reference, as_image, as_picture
from crossnetpp.networks.mirroring import MIRRORED, mirror_pictures, mirror_taps
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
        for axes in MIRRORED:
            mirrored = [
                Reference(mirror_pictures(reference.picture, axes), reference.distance)
                for reference in references
            ]
            lr_mirrored = mirror_pictures(lr, axes)
            found.append(self._method.enhance(lr_mirrored, mirrored, mirror_taps(taps, axes)))

        results = [
            as_image(mirror_pictures(each.sr, axes))
            for each, axes in zip(found, MIRRORED, strict=True)
        ]
        return found[0]._replace(sr=as_picture(np.asarray(np.mean(results, axis=0), np.float32)))
