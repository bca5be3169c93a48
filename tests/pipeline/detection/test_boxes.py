"""Box regression, mirroring and clipping."""

import math

import torch

from watchmove.pipeline.detection.boxes import clip_boxes, decode_boxes, encode_boxes, mirror_boxes

REGIONS = torch.tensor([[10.0, 20.0, 30.0, 60.0], [0.0, 0.0, 100.0, 50.0]])


def test_a_shift_by_half_a_width_and_twice_the_size_is_known() -> None:
    """A box 20 wide and 40 high, moved by 10 and 40 and doubled: shifts 0.5 and 1, log scales log 2."""
    moved = torch.tensor([[10.0, 40.0, 50.0, 120.0]])

    torch.testing.assert_close(encode_boxes(REGIONS[:1], moved), torch.tensor([[0.5, 1.0, math.log(2), math.log(2)]]))


def test_decoding_undoes_encoding_for_every_class() -> None:
    """The object comes back from the region and its deltas, whichever class's place they are in."""
    objects = torch.tensor([[12.0, 18.0, 40.0, 66.0], [5.0, 5.0, 20.0, 45.0]])
    deltas = torch.stack([torch.zeros(2, 4), encode_boxes(REGIONS, objects)], dim=1)
    decoded = decode_boxes(REGIONS, deltas)

    torch.testing.assert_close(decoded[:, 1], objects)
    torch.testing.assert_close(decoded[:, 0], REGIONS)


def test_an_absurd_scale_stays_finite() -> None:
    """A log scale of 1000 gives a box 62.5 times as large, not infinity."""
    decoded = decode_boxes(REGIONS[:1], torch.tensor([[[0.0, 0.0, 1000.0, 0.0]]]))

    torch.testing.assert_close(decoded[0, 0, 2] - decoded[0, 0, 0], torch.tensor(20 * 62.5))


def test_mirroring_keeps_what_is_left_at_the_right() -> None:
    """In an image 100 wide, columns 10 to 30 become 70 to 90, and twice is none."""
    mirrored = mirror_boxes(REGIONS, 100)

    assert mirrored[0].tolist() == [70, 20, 90, 60]
    torch.testing.assert_close(mirror_boxes(mirrored, 100), REGIONS)


def test_boxes_are_cut_at_the_border() -> None:
    """Nothing of a box is left outside of the image."""
    assert clip_boxes(torch.tensor([[-5.0, -1.0, 70.0, 30.0]]), 50, 40).tolist() == [[0, 0, 50, 30]]
