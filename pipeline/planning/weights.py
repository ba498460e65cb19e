"""Choose between the shipped weights by how faithful the input is."""

from __future__ import annotations

from crossnetpp.capture.variants import choose_weights
from pipeline.schema.clip import LightField, Recording

# Codecs that hardly anybody uses without loss
LOSSY_CODECS = frozenset(
    (
        *("av1", "h263", "h264", "hevc", "mjpeg", "mpeg1video", "mpeg2video", "mpeg4"),
        *("msmpeg4v2", "msmpeg4v3", "theora", "vc1", "vp8", "vp9", "wmv1", "wmv2", "wmv3"),
    )
)


def choose_model(model: str, lr: Recording, fits_db: float | None) -> tuple[str, str]:
    """Return the weights for an input, and a note if they are not those that `model` names.

    `fits_db` is the fit of the measured capture, or None if nothing was measured; then the codec
    decides.
    """
    chosen = choose_weights(model, fits_db, lossy=_is_lossy(lr))
    if chosen == model:
        return model, ""
    if fits_db is None:
        return chosen, f"weights: {chosen}, because the input is compressed by {lr.codec}"
    return chosen, (
        f"weights: {chosen}, because the input is compressed or noisy: reduced key frames differ "
        f"from it by {fits_db:.1f} dB"
    )


def _is_lossy(lr: Recording) -> bool:
    if isinstance(lr, LightField):
        return False
    return lr.codec in LOSSY_CODECS and "420" in lr.pix_fmt
