"""FrameBatch: the contract between data and model."""

from typing import NotRequired, TypedDict

from torch import Tensor


class FrameSample(TypedDict):
    """One pair, before collation."""

    source_frame: Tensor  # (3, H, W) in [-1, 1]
    target_frame: Tensor  # (3, H, W) in [-1, 1]
    instruction: str
    pair_id: str  # "<task>/<episode>/<source>-<target>", unique in a prepared folder
    seconds: NotRequired[float]  # from source to target; absent where the data do not say
    state: NotRequired[Tensor]  # (2, S) where robot and objects are at source and target, see ldm.data.futures
    state_known: NotRequired[Tensor]  # (S,) bool
    more_state: NotRequired[Tensor]  # (M, 2, S) of further moments of the same episode; the first a little off
    more_seconds: NotRequired[Tensor]  # (M,) between the two
    neighbour_frames: NotRequired[Tensor]  # (2 K, 3, H, W) in [-1, 1]: see ldm.data.neighbours
    seed: int  # decides everything that chance decides about this sample at this point of the training


class FrameBatch(TypedDict):
    """B pairs, as the default collate function stacks them."""

    source_frame: Tensor  # (B, 3, H, W) in [-1, 1]
    target_frame: NotRequired[Tensor]  # (B, 3, H, W) in [-1, 1]; absent at prediction
    instruction: list[str]  # B sentences
    pair_id: list[str]  # B names
    seconds: NotRequired[Tensor]  # (B,) from source to target; absent where the data do not say
    state: NotRequired[Tensor]  # (B, 2, S)
    state_known: NotRequired[Tensor]  # (B, S) bool
    more_state: NotRequired[Tensor]  # (B, M, 2, S) of further moments of the same episodes; the first a little off
    more_seconds: NotRequired[Tensor]  # (B, M) between the two
    neighbour_frames: NotRequired[Tensor]  # (B, 2 K, 3, H, W) in [-1, 1]
    seed: NotRequired[Tensor]  # (B,) int64; absent at prediction


class CachedBatch(TypedDict):
    """B pairs whose frames, and sentences where they do not train, were encoded before; see latent_cache."""

    source_latent: Tensor  # (B, C, h, w) posterior mode of the source frame, not scaled
    target_mean: Tensor  # (B, C, h, w) posterior of the target frame, not scaled
    target_std: Tensor  # (B, C, h, w)
    text: NotRequired[Tensor]  # (B, L, D) embedded sentences; absent where the text encoder trains
    null_text: NotRequired[Tensor]  # (1, L, D) embedding of the empty sentence
    instruction: list[str]  # B sentences
    pair_id: list[str]  # B names
    seconds: NotRequired[Tensor]  # (B,) from source to target; absent where the data do not say
    seed: Tensor  # (B,) int64
