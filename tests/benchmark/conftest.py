"""Episodes to prepare, as the tests of dataset_tools make them."""

from tests.dataset_tools.conftest import episode, episode_file, episodes_folder  # noqa: F401 - fixtures
