"""A network whose results are mixed with results of optical flow."""

from __future__ import annotations

from collections.abc import Sequence

from crossnetpp.capture.variants import LEAST_FAITHFUL
from crossnetpp.classical.mix import mix_with_flow
from crossnetpp.evaluation.methods import Enhanced, Method, weigh
from crossnetpp.evaluation.scenes import Material, Picture, Reference, as_image, as_picture
from crossnetpp.networks.taps import Taps


class MixedMethod:
    """A method whose results are mixed with results of optical flow, as with `--effort best`."""

    def __init__(self, name: str, method: Method, *, again: bool = False) -> None:
        """Mix the results of `method`; with `again`, the optical flow is estimated twice."""
        self.name = name
        flow = "optical flow (estimated twice)" if again else "optical flow"
        what = f"{method.about.what}, mixed with {flow} for nearly lossless recordings"
        self.about = method.about._replace(what=what)
        self._method = method
        self._again = again
        self._is_mixed = False

    def prepare(self, material: Material, taps: Taps | None) -> str:
        """Prepare the method, and decide from the measured capture whether to mix.

        Return the method's remark for the report.
        """
        fits = material.capture.fits_db
        self._is_mixed = fits is not None and fits >= LEAST_FAITHFUL
        return self._method.prepare(material, taps)

    def enhance(self, lr: Picture, references: Sequence[Reference], taps: Taps | None) -> Enhanced:
        """Return the method's result, mixed with optical flow's result if `prepare` decided so."""
        found = self._method.enhance(lr, references, taps)
        if not self._is_mixed:
            return found
        images = [as_image(reference.picture) for reference in references]
        mixed = mix_with_flow(
            *(as_image(found.sr), as_image(lr), images, weigh(references), taps), again=self._again
        )
        return found._replace(sr=as_picture(mixed))
