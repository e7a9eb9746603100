"""The loss in an ordinary PyTorch loop: estimate a number with a label distribution.

Run: python examples/plain_training_loop.py
"""

import torch
from torch import nn

from dldl_fast import DLDLv2Loss
from dldl_fast.functional import expectation

torch.manual_seed(0)

# "Ages" that depend on eight features, with noise of three years.
features = torch.randn(2000, 8)
ages = (40 + 12 * torch.tanh(features[:, 0]) + 8 * features[:, 1] * features[:, 2]).clamp(5, 95)
ages = (ages + 3 * torch.randn(2000)).clamp(0, 100)
train, test = slice(0, 1600), slice(1600, None)

criterion = DLDLv2Loss(label_min=0, label_max=100, sigma=3.0)
# One output per label; they are logits, so there is no softmax in the model.
model = nn.Sequential(nn.Linear(8, 128), nn.ReLU(), nn.Linear(128, len(criterion.labels)))
optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)

for epoch in range(1, 31):
    for batch in torch.randperm(1600).split(64):
        loss = criterion(model(features[train][batch]), ages[train][batch])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    if epoch % 10 == 0:
        with torch.no_grad():
            predicted = expectation(model(features[test]), criterion.labels)
        error = (predicted - ages[test]).abs().mean()
        print(f"epoch {epoch}: loss {loss:.3f}, MAE on unseen rows {error:.2f} years")

constant = (ages[train].median() - ages[test]).abs().mean()
print(f"constant prediction: {constant:.2f} years")
