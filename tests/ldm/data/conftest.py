"""What the tests of data share."""

import numpy as np
import pytest

from formats.prepared_episodes import Motion, PreparedEpisode, finish_folder, measure_statistics, write_episode

D, LENGTH = 14, 6


@pytest.fixture
def episodes(tmp_path):
    """Folder of two training episodes of six frames; frame t is of grey value 10 t, its command t / 10."""

    def make(chunk: int = 3, actions: bool = True, objects: int = 1, draw_every: int = 1):
        listed, motions = [], []
        for number in range(2):
            episode = PreparedEpisode(
                f"push/{number}",
                "push",
                number,
                "train",
                LENGTH,
                ("head",),
                ("push it", "shove it"),
                (),
                16.7,
                ("box",),
                draw_every=draw_every,
            )
            states = np.arange(LENGTH, dtype=np.float32)[:, None].repeat(D, 1) / 10
            told = np.concatenate([states[1:], states[-1:]]) if actions else None
            poses = np.tile(np.array([0.1, 0.2, 0.8, 1, 0, 0, 0], np.float32), (LENGTH, objects, 1))
            motion = Motion(states, told, states + 0.01, poses)
            frames = [np.full((16, 16, 3), 10 * t, np.uint8) for t in range(0, LENGTH, draw_every)]
            write_episode(tmp_path / episode.episode_id, episode, {"head": frames}, motion)
            listed.append(episode)
            motions.append(motion)
        finish_folder(tmp_path, listed, measure_statistics(motions, chunk, relative=True), {})
        return tmp_path

    return make
