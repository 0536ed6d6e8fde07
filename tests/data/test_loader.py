from __future__ import annotations

import pytest
import torch
from torch import nn

from adarts_ext.data import BatchLoader, load_dataset

COUNT, SIZE, PADDING, CUTOUT = 50, 16, 2, 6


def make_images(count=COUNT, channels=3, height=SIZE, width=SIZE):
    """Images without a pixel of value 0, so that padding shows."""
    generator = torch.Generator().manual_seed(0)
    images = torch.randint(1, 256, (count, channels, height, width), generator=generator)
    return images.to(torch.uint8)


def make_loader(images=None, *, labels=None, **options):
    images = make_images() if images is None else images
    labels = torch.arange(len(images)) if labels is None else labels
    channels = images.shape[1]
    settings = {
        "batch_size": 8,
        "mean": (0.0,) * channels,
        "std": (1 / 255,) * channels,  # together with the mean: batches hold pixel values
        "augment": True,
        "flip": True,
        "padding": PADDING,
        "cutout": 0,
        "device": "cpu",
        "seed": 0,
    } | options
    return BatchLoader(images, labels, settings.pop("batch_size"), **settings)


def shifts_of(image, padding):
    """All crops of the zero-padded image, with their shifts."""
    height, width = image.shape[1:]
    padded = nn.functional.pad(image, (padding,) * 4)
    for down in range(2 * padding + 1):
        for right in range(2 * padding + 1):
            yield (down, right), padded[:, down : down + height, right : right + width]


def test_batches_are_float32_and_labels_follow_their_images():
    images = make_images()
    for batch, labels in make_loader(images, augment=False):
        assert batch.dtype == torch.float32
        assert labels.dtype == torch.int64
        assert torch.equal(batch.round().to(torch.uint8), images[labels])


@pytest.mark.parametrize("flip", [False, True])
def test_crop_is_a_shift_with_zeros_coming_in_and_flip_a_mirror(flip):
    images = make_images(height=12)
    seen_shifts, seen_flips = set(), set()
    loader = make_loader(images, flip=flip)
    for _ in range(8):
        for batch, labels in loader:
            for pixels, label in zip(batch.round().to(torch.uint8), labels, strict=True):
                found = [
                    (shift, mirrored)
                    for shift, crop in shifts_of(images[label], PADDING)
                    for mirrored in (False, True)
                    if torch.equal(crop.flip(2) if mirrored else crop, pixels)
                ]
                assert len(found) == 1
                seen_shifts.add(found[0][0])
                seen_flips.add(found[0][1])
    assert len(seen_shifts) == (2 * PADDING + 1) ** 2
    assert seen_flips == ({False, True} if flip else {False})


def test_shifts_and_flips_are_as_often_as_those_of_torchvision():
    from torchvision.transforms import v2

    size, count = 8, 20_000
    place = torch.arange(1, 1 + size)
    rows, columns = torch.meshgrid(place, place, indexing="ij")  # each pixel says where it was
    image = torch.stack([rows, columns]).to(torch.uint8)
    kinds = 2 * (2 * PADDING + 1) ** 2

    def often(batch):
        """How often each shift is, of images as they were and of mirrored ones."""
        centre = batch[:, :, size // 2, size // 2].long()
        mirrored = (batch[:, 1, size // 2, size // 2 - 1] > centre[:, 1]).long()
        down, right = centre[:, 0] - size // 2 - 1, centre[:, 1] - size // 2 - 1 + mirrored
        shift = (down + PADDING) * (2 * PADDING + 1) + right + PADDING
        return torch.bincount(2 * shift + mirrored, minlength=kinds).double()

    images = image.expand(count, -1, -1, -1)
    ours = often(next(iter(make_loader(images, batch_size=count)))[0].round())
    crop_and_flip = v2.Compose([v2.RandomCrop(size, PADDING), v2.RandomHorizontalFlip()])
    torch.manual_seed(0)
    theirs = often(torch.stack([crop_and_flip(image) for _ in range(count)]))
    assert len(ours) == len(theirs) == kinds
    # Twice the same distribution: chi-square of 49 degrees of freedom, six deviations allowed.
    chi_square = ((ours - theirs) ** 2 / (ours + theirs)).sum()
    assert chi_square < (kinds - 1) + 6 * (2 * (kinds - 1)) ** 0.5


def test_cutout_is_one_square_that_may_lie_over_the_border():
    images = torch.full((COUNT, 3, SIZE, SIZE), 9, dtype=torch.uint8)
    areas = set()
    loader = make_loader(images, cutout=CUTOUT, padding=0)
    for _ in range(20):
        for batch, _ in loader:
            holes = batch == 0
            assert torch.equal(holes[:, :1].expand_as(holes), holes)  # the same in all channels
            for hole in holes[:, 0]:
                rows, columns = hole.any(dim=1), hole.any(dim=0)
                assert torch.equal(hole, rows[:, None] & columns[None, :])
                for side in (rows, columns):
                    places = side.nonzero().squeeze(1)
                    assert len(places) == places[-1] - places[0] + 1  # without a gap
                    # Whole, or over the border with its centre still inside.
                    assert CUTOUT // 2 <= len(places) <= CUTOUT
                    assert len(places) == CUTOUT or 0 in places or SIZE - 1 in places
                areas.add(int(hole.sum()))
    assert max(areas) == CUTOUT**2
    assert min(areas) == (CUTOUT // 2) ** 2


def test_cutout_sets_the_normalised_image_to_zero():
    loader = make_loader(mean=(0.4,) * 3, std=(0.2,) * 3, cutout=SIZE, padding=0)
    batch, _ = loader.next()
    assert (batch == 0).float().mean() >= 0.25


def test_normalisation_gives_mean_0_and_std_1_over_the_training_images():
    data = load_dataset("digits")
    loader = BatchLoader(
        data.train_images,
        data.train_labels,
        100,
        mean=data.mean,
        std=data.std,
        augment=False,
        flip=False,
        padding=0,
        device="cpu",
        seed=0,
    )
    batches = torch.cat([batch for batch, _ in loader]).double()
    assert len(batches) == 1500
    eps = torch.finfo(torch.float32).eps
    assert batches.mean().abs() < 10 * eps
    assert (batches.std(correction=0) - 1).abs() < 10 * eps


def test_normalisation_is_as_exact_as_the_formula_in_float32():
    images = torch.arange(256, dtype=torch.uint8).reshape(1, 1, 16, 16)
    mean, std = 0.4914, 0.2471
    loader = make_loader(images, batch_size=1, mean=(mean,), std=(std,), augment=False)
    ours = loader.next()[0]
    exact = (images.double() / 255 - mean) / std
    plain = (images.float() / 255 - mean) / std
    error = (ours.double() - exact).abs().max()
    assert error <= 2 * (plain.double() - exact).abs().max()


def test_an_epoch_has_every_image_once_in_a_fresh_order():
    loader = make_loader(batch_size=10)
    first = torch.cat([labels for _, labels in loader])
    second = torch.cat([labels for _, labels in loader])
    assert torch.equal(first.sort().values, torch.arange(COUNT))
    assert torch.equal(second.sort().values, torch.arange(COUNT))
    assert not torch.equal(first, second)


def test_without_shuffling_images_come_as_they_lie():
    loader = make_loader(shuffle=False, augment=False)
    for _ in range(2):
        assert torch.equal(torch.cat([labels for _, labels in loader]), torch.arange(48))


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("augment", [False, True])
@pytest.mark.parametrize("channels_last", [False, True])
def test_batches_have_the_strides_of_a_fresh_tensor(channels, augment, channels_last):
    images = make_images(channels=channels)
    if channels_last:
        images = images.permute(0, 2, 3, 1).contiguous().permute(0, 3, 1, 2)
    batch, _ = make_loader(images, augment=augment).next()
    assert batch.stride() == torch.empty(batch.shape).stride()


@pytest.mark.parametrize(("drop_last", "sizes"), [(True, [8] * 6), (False, [8] * 6 + [2])])
def test_last_batch(drop_last, sizes):
    loader = make_loader(drop_last=drop_last)
    assert len(loader) == len(sizes)
    assert [len(batch) for batch, _ in loader] == sizes


def test_next_goes_on_without_end_through_whole_epochs():
    loader = make_loader(batch_size=10)
    labels = torch.cat([loader.next()[1] for _ in range(15)])
    epochs = labels.reshape(3, COUNT)
    for epoch in epochs:
        assert torch.equal(epoch.sort().values, torch.arange(COUNT))
    assert not torch.equal(epochs[0], epochs[1])
    assert not torch.equal(epochs[1], epochs[2])


def take(loader, count):
    return [loader.next() for _ in range(count)]


def assert_same_batches(ours, theirs):
    for (batch, labels), (expected, expected_labels) in zip(ours, theirs, strict=True):
        assert torch.equal(batch, expected)
        assert torch.equal(labels, expected_labels)


def test_batches_depend_on_the_seed_only():
    torch.manual_seed(1)
    first = take(make_loader(seed=5, cutout=CUTOUT), 14)
    torch.manual_seed(2)
    assert_same_batches(take(make_loader(seed=5, cutout=CUTOUT), 14), first)
    other = take(make_loader(seed=6, cutout=CUTOUT), 1)
    assert not torch.equal(other[0][1], first[0][1])


def test_iterating_and_next_give_the_same_epoch():
    assert_same_batches(list(make_loader()), take(make_loader(), 6))


@pytest.mark.parametrize("taken", [0, 1, 5, 6, 7, 12])
def test_a_restored_loader_gives_the_same_batches(taken):
    loader = make_loader(cutout=CUTOUT)
    take(loader, taken)
    restored = make_loader(cutout=CUTOUT, seed=99)
    restored.load_state_dict(loader.state_dict())
    assert_same_batches(take(restored, 13), take(loader, 13))


def test_a_loader_restored_between_epochs_gives_the_same_epoch():
    loader = make_loader()
    for _ in range(2):
        list(loader)
    restored = make_loader(seed=99)
    restored.load_state_dict(loader.state_dict())
    assert_same_batches(list(restored), list(loader))


def test_the_state_is_not_touched_by_going_on():
    loader = make_loader()
    take(loader, 2)
    state = loader.state_dict()
    expected = take(loader, 10)
    restored = make_loader()
    restored.load_state_dict(state)
    assert_same_batches(take(restored, 10), expected)


def test_grey_images():
    batch, _ = make_loader(make_images(channels=1), cutout=CUTOUT).next()
    assert batch.shape == (8, 1, SIZE, SIZE)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"cutout": 17}, "cutout must be from 0 to the image's size, 16, got 17"),
        ({"cutout": -1}, "cutout must be from 0"),
        ({"padding": -1}, "padding must be at least 0, got -1"),
        ({"batch_size": 51}, "batch size must be from 1 to the 50 images, got 51"),
        ({"batch_size": 0, "drop_last": False}, "batch size must be from 1"),
        ({"mean": (0.5,)}, "3 values each, got 1 and 3"),
        ({"images": torch.zeros(50, 3, 8, 8)}, "uint8"),
        ({"labels": torch.zeros(49)}, r"got .* and \(49,\)"),
    ],
)
def test_bad_options(options, message):
    with pytest.raises(ValueError, match=message):
        make_loader(**options)


def test_the_shares_of_processes_are_together_the_batches_of_one():
    whole = make_loader(cutout=CUTOUT)
    shares = [make_loader(cutout=CUTOUT, share=(part, 4)) for part in range(4)]
    for images, labels in whole:
        parts = [share.next() for share in shares]
        assert torch.equal(images, torch.cat([part[0] for part in parts]))
        assert torch.equal(labels, torch.cat([part[1] for part in parts]))


@pytest.mark.parametrize("share", [(0, 3), (4, 4), (-1, 4), (0, 0)])
def test_a_share_that_is_none_is_refused(share):
    with pytest.raises(ValueError, match="parts a divisor of 8, got"):
        make_loader(share=share)
