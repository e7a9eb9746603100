"""Networks of the paper's section 3.4."""

from dldl_fast.models.thin_age_net import ThinAgeNet, TinyAgeNet

__all__ = ["ThinAgeNet", "TinyAgeNet"]
