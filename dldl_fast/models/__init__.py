"""Networks: the ThinAgeNet family of the paper's section 3.4, and any backbone with its head."""

from dldl_fast.hybrid_pool import HybridPool2d
from dldl_fast.models.al_resnet import ALResNet
from dldl_fast.models.checkpoint import CheckpointError
from dldl_fast.models.comparators import VGG16, ResNet50
from dldl_fast.models.face_identity_net import FaceIdentityNet
from dldl_fast.models.label_distribution_net import LabelDistributionNet
from dldl_fast.models.sigmoid_age_net import SigmoidThinAgeNet, SigmoidTinyAgeNet
from dldl_fast.models.thin_age_net import (
    AGES,
    CFD,
    SCUT_FBP,
    ThinAgeNet,
    ThinAttNet,
    TinyAgeNet,
    TinyAttNet,
)

__all__ = [
    "AGES",
    "CFD",
    "SCUT_FBP",
    "VGG16",
    "ALResNet",
    "CheckpointError",
    "FaceIdentityNet",
    "HybridPool2d",
    "LabelDistributionNet",
    "ResNet50",
    "SigmoidThinAgeNet",
    "SigmoidTinyAgeNet",
    "ThinAgeNet",
    "ThinAttNet",
    "TinyAgeNet",
    "TinyAttNet",
]
