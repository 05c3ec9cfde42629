"""Real episodes: a fixed list, whoever asks and however."""

from pathlib import Path

import pytest
import torch
from torch.utils.data import DataLoader

from picture_folders import small_dataset
from purer_lightning.data.real_episodes import RealEpisodes
from purer_lightning.data.splits import ImageSplit, open_split
from purer_lightning.episode import Episode
from purer_lightning.errors import PurerError
from purer_lightning.nets.normalisation import Normalisation

UNIT = Normalisation((0.0, 0.0, 0.0), (1 / 255, 1 / 255, 1 / 255))  # leaves the pictures' values as they are


@pytest.fixture(scope="module")
def split(tmp_path_factory: pytest.TempPathFactory) -> ImageSplit:
    return open_split(small_dataset(tmp_path_factory.mktemp("data"), per_class=10), "small", "train")


def episodes(split: ImageSplit, episodes: int = 6, seed: int = 0) -> RealEpisodes:
    return RealEpisodes(split, UNIT, way=3, shot=2, query=4, episodes=episodes, seed=seed)


def same(one: Episode, other: Episode) -> bool:
    return one.id == other.id and all(torch.equal(a, b) for a, b in zip(one[:4], other[:4], strict=True))


def test_rows_are_ordered_by_label_and_a_label_is_one_class(split: ImageSplit) -> None:
    episode = episodes(split)[2]
    assert episode.id == 2
    assert episode.way == 3
    assert episode.support.shape == (6, 3, 8, 8)
    assert episode.query.shape == (12, 3, 8, 8)
    assert episode.support_labels.tolist() == [0, 0, 1, 1, 2, 2]
    assert episode.query_labels.tolist() == [0] * 4 + [1] * 4 + [2] * 4
    red = episode.support[:, 0, 0, 0]
    assert len(set(red.tolist())) == 3
    assert torch.equal(episode.query[:, 0, 0, 0], red[[0, 2, 4]].repeat_interleave(4))


def test_support_and_query_never_share_an_image(split: ImageSplit) -> None:
    for episode in (episodes(split, 40)[i] for i in range(40)):
        pixels = torch.cat([episode.support, episode.query])[:, :2, 0, 0]  # class and number of the picture
        assert len(set(map(tuple, pixels.tolist()))) == 18


def test_what_a_function_says_of_a_picture_stands_where_the_picture_was(split: ImageSplit) -> None:
    plain, told = episodes(split), episodes(split)
    told.represent(lambda images: images.flatten(1)[:, :5])
    for shown, said in ((plain[i], told[i]) for i in range(len(plain))):
        assert torch.equal(said.support, shown.support.flatten(1)[:, :5])
        assert torch.equal(said.query, shown.query.flatten(1)[:, :5])
        assert said.id == shown.id


def test_an_episode_depends_on_seed_and_number_alone(split: ImageSplit) -> None:
    listed = [episodes(split)[i] for i in range(len(episodes(split)))]
    assert len(listed) == 6
    backwards = episodes(split)
    assert all(same(backwards[i], listed[i]) for i in (5, 3, 0, 1, 4, 2))
    torch.manual_seed(99)
    assert same(episodes(split, 1000)[4], listed[4])
    assert not torch.equal(episodes(split, seed=1)[4].support, listed[4].support)
    assert not torch.equal(listed[3].support, listed[4].support)


@pytest.mark.parametrize("workers", [1, 2])
def test_workers_give_the_same_episodes(split: ImageSplit, workers: int) -> None:
    loader = DataLoader(episodes(split), batch_size=None, num_workers=workers)
    got = list(loader)
    assert len(got) == 6
    assert all(same(Episode(*episode), episodes(split)[i]) for i, episode in enumerate(got))


def test_another_split_of_the_same_data_has_other_draws(split: ImageSplit, tmp_path: Path) -> None:
    renamed = open_split(small_dataset(tmp_path, per_class=10), "small", "train")
    renamed.split = "val"
    assert not torch.equal(episodes(renamed)[0].support, episodes(split)[0].support)


def test_images_are_normalised_as_the_network_wants(split: ImageSplit) -> None:
    half = Normalisation((0.5, 0.5, 0.5), (0.5, 0.5, 0.5))
    raw = episodes(split)[0].support
    got = RealEpisodes(split, half, way=3, shot=2, query=4, episodes=1, seed=0)[0].support
    assert torch.allclose(got, raw / 127.5 - 1, atol=1e-6)


@pytest.mark.parametrize("number", [-1, 6])
def test_there_is_no_episode_outside_the_list(split: ImageSplit, number: int) -> None:
    with pytest.raises(IndexError):
        episodes(split)[number]


@pytest.mark.parametrize(
    ("sizes", "message"),
    [
        ({"way": 9}, "`way` to be at most 8, the number of classes in the train split of 'small', but got 9"),
        ({"query": 9}, "`shot . query` to be at most 10, .* of class 'c.*' .* but got 2 . 9 = 11: lower one"),
        ({"shot": 0}, "`shot` to be at least 1, but got 0"),
        ({"episodes": 0}, "`episodes` to be at least 1, but got 0"),
    ],
)
def test_what_the_split_cannot_give_is_refused_with_the_arithmetic(
    split: ImageSplit, sizes: dict[str, int], message: str
) -> None:
    wanted = {"way": 3, "shot": 2, "query": 4, "episodes": 1, "seed": 0} | sizes
    with pytest.raises(PurerError, match=message):
        RealEpisodes(split, UNIT, **wanted)


def test_channels_that_do_not_fit_the_normalisation_are_refused(split: ImageSplit) -> None:
    with pytest.raises(PurerError, match="prepare it with `--channels 1`"):
        RealEpisodes(split, Normalisation((0.5,), (0.5,)), 3, 2, 4, 1, 0)
