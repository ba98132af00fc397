"""What a picture predictor knows when it is asked for the future once: features of its network, for an action stream.

Source: ImageWAM (arXiv 2606.19531): an image-editing network is run once on the present frame and the sentence, its
inner features are what actions attend to, and the picture itself is never drawn. Ours: one layer's output, with the
place of each feature beside it; the network is frozen.
"""

from collections.abc import Mapping

import torch
from einops import rearrange, repeat
from torch import Tensor, nn

from commands.errors import UserError
from ldm.util import instantiate_from_config

NOISE_SEED = 0  # of the one noise that the network is always asked with


class PictureTrunk(nn.Module):
    """A frozen LatentDiffusion and a tap in its U-Net.

    Args:
        model_config: node of the LatentDiffusion; its weights are loaded by who trains or resumes.
        camera: whose frames it is shown.
        tap: name of the U-Net's layer whose output is taken, such as output_blocks.2.
    """

    def __init__(self, model_config: Mapping, camera: str, tap: str) -> None:
        super().__init__()
        self.picture_model = instantiate_from_config(model_config, "features.params.model_config")
        self.picture_model.model_ema = None
        self.requires_grad_(False)
        self.camera, self._taken = camera, []
        layers = dict(self.picture_model.model.diffusion_model.named_modules())
        if tap not in layers:
            tops = [name for name in layers if "block" in name and name.count(".") < 2]
            raise UserError(f"features.params.tap: the U-Net has no layer '{tap}'; it has {', '.join(tops)}.")
        layers[tap].register_forward_hook(lambda layer, given, output: self._taken.append(output))
        self.eval()

    def train(self, mode: bool = True) -> "PictureTrunk":
        """It stays in eval mode whatever is asked."""
        return super().train(False)

    @torch.no_grad()
    def forward(self, frame: Tensor, sentences: list[str]) -> Tensor:
        """Frames (B, 3, S, S) in [-1, 1] => (B, h w, C + 2): features of each place, then x and y in [-1, 1]."""
        model = self.picture_model
        cond = model.get_learned_conditioning(frame, sentences)
        noise = torch.randn(cond.concat.shape[1:], generator=torch.Generator().manual_seed(NOISE_SEED))
        last = torch.full((len(frame),), model.schedule.timesteps - 1, device=frame.device)
        self._taken.clear()
        model.apply_model(repeat(noise, "... -> b ...", b=len(frame)).to(cond.concat), last, cond)
        features = self._taken.pop()
        y, x = (torch.linspace(-1, 1, side, device=frame.device) for side in features.shape[-2:])
        places = torch.stack([x.expand(len(y), -1), y[:, None].expand(-1, len(x))])
        places = repeat(places, "c h w -> b c h w", b=len(frame)).to(features)
        return rearrange(torch.cat([features, places], dim=1), "b c h w -> b (h w) c")
