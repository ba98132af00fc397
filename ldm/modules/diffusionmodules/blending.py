"""A U-Net for a camera that stands still: it says where the picture changes, and to what.

Ours. Predicting the bare change of a lossless latent asks the network for the exact negative of everything that moves
away; a small network leaves its outline there. Here the source frame is taken away by a mask instead, and what it hid
is there already: the empty scene, one learned picture.
"""

import torch
from einops import repeat
from torch import Tensor, nn

from commands.errors import UserError
from ldm.modules.diffusionmodules.openaimodel import UNetModel

# The scene is stored this much smaller than it is: Adam's steps are the learning rate, and pixels lie far apart.
SCENE_GAIN = 8.0


class BlendingUNet(UNetModel):
    """Predicts the clean change of a latent as `scale_factor * mask * (scene + figure - source)`.

    Mask and figure are the U-Net's; it sees the source as its difference from the scene. For models that predict the
    change (`predict_change`) as x0, with the source latent concatenated to the noisy one.

    Args:
        in_channels: 2 C, of the noisy latent and of the source's.
        out_channels: C.
        latent_size: side of the latents, since the scene has one value a place.
        mask_channels: M; mask m acts on the latent channels m, m + M, m + 2 M ...; for patches of pixels, p^2 gives
            every pixel one.
        scale_factor: the model's own; the source comes unscaled, the change goes scaled.
        **unet: see UNetModel.
    """

    def __init__(  # noqa: PLR0913 - the U-Net's channels beside the blend's
        self,
        in_channels: int,
        out_channels: int,
        latent_size: int,
        mask_channels: int,
        scale_factor: float,
        **unet: object,
    ) -> None:
        if in_channels != 2 * out_channels or out_channels % mask_channels:
            raise UserError(
                f"in_channels {in_channels}, out_channels {out_channels}, mask_channels {mask_channels}: wanted 2 C, "
                "C and a divisor of C."
            )
        super().__init__(in_channels=in_channels, out_channels=out_channels + mask_channels, **unet)
        self.latent_channels = out_channels
        self.scale_factor = scale_factor
        self.scene = nn.Parameter(torch.zeros(out_channels, latent_size, latent_size))

    def forward(self, x: Tensor, timesteps: Tensor, context: Tensor) -> Tensor:
        """Clean change (B, C, H, W), in the dtype of x; arguments as UNetModel's.

        Raises:
            UserError: if the latent has another size than the scene.
        """
        self._check(x)
        if x.shape[-2:] != self.scene.shape[-2:]:
            raise UserError(
                f"latent of {x.shape[-2]} x {x.shape[-1]}: this network was built for one camera at "
                f"{self.scene.shape[-2]} x {self.scene.shape[-1]} (latent_size); give frames of the trained resolution."
            )
        noisy, source = x.chunk(2, dim=1)
        scene = SCENE_GAIN * self.scene.to(x.dtype)
        output = super().forward(torch.cat([noisy, source - scene], dim=1), timesteps, context)
        figure, mask = output.split([self.latent_channels, output.shape[1] - self.latent_channels], dim=1)
        mask = repeat(mask.sigmoid(), "b m h w -> b (c m) h w", c=self.latent_channels // mask.shape[1])
        return self.scale_factor * mask * (scene + figure - source)
