import pytest

from tessera.errors import UsageError
from tessera.evaluate.protocol import PROTOCOLS, find_protocol


def test_protocols_differ_and_say_so():
    words = [tuple(protocol.describe(4).values()) for protocol in PROTOCOLS]
    assert len(set(words)) == len(PROTOCOLS) == 6
    assert "4 pixels from each side (the scale)" in find_protocol("paper").describe(4)["crop"]


def test_only_choices_of_the_metrics_that_ran_are_described():
    names = {"PSNR and SSIM on", "PSNR averaged", "PSNR of equal pictures", "SSIM", "NIQE on"}

    def described(*metrics: str) -> set[str]:
        return names & find_protocol("paper").describe(4, metrics).keys()

    assert described("niqe") == {"NIQE on"}
    assert described("ssim") == {"PSNR and SSIM on", "SSIM"}
    assert described("psnr", "dists") == {"PSNR and SSIM on", "PSNR averaged", "PSNR of equal pictures"}
    assert described("fid") == set()
    assert {"protocol", "levels", "crop"} <= find_protocol("paper").describe(4, ["fid"]).keys()


def test_equal_pictures_score_what_the_protocol_says():
    assert find_protocol("paper").describe(4)["PSNR of equal pictures"].startswith("infinite")
    assert find_protocol("esrdgan").describe(4)["PSNR of equal pictures"].startswith("128.1 dB")
    assert find_protocol("pyiqa").describe(4)["PSNR of equal pictures"].startswith("80.0 dB")


def test_a_changed_protocol_has_another_name():
    assert find_protocol("paper", channels="rgb", crop=None).name == "paper with channels rgb"
    assert find_protocol("paper", channels="y").name == "paper"


def test_an_unknown_name_is_answered_with_the_nearest():
    with pytest.raises(UsageError, match="did you mean basicsr"):
        find_protocol("basicsrr")
