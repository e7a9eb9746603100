"""Several raters per picture: learn from their histograms instead of a Gaussian.

Run: python examples/rater_histograms.py
"""

import torch
from torch import nn

from dldl_fast import DLDLv2Loss
from dldl_fast.functional import expectation
from dldl_fast.labels import label_grid

torch.manual_seed(0)

# Sixty raters score 1000 items from 1 to 5; where opinions differ is part of the data.
scores = label_grid(1, 5, 1)
features = torch.randn(1000, 6)
centre = 3 + torch.tanh(features[:, 0]) + 0.5 * features[:, 1]
spread = 0.4 + 0.5 * torch.sigmoid(features[:, 2])
opinions = centre[:, None] + spread[:, None] * torch.randn(1000, 60)
votes = opinions.round().clamp(1, 5).long() - 1
histograms = nn.functional.one_hot(votes, 5).sum(1).float()  # [1000, 5], counts
mean_score = (histograms.double() @ scores) / histograms.sum(1)

criterion = DLDLv2Loss(labels=scores)
model = nn.Sequential(nn.Linear(6, 64), nn.ReLU(), nn.Linear(64, 5))
optimizer = torch.optim.Adam(model.parameters(), lr=3e-3)

for _ in range(40):
    for batch in torch.randperm(800).split(50):
        # Counts need no normalising; the target value is then the mean score of the raters.
        loss = criterion(model(features[batch]), target_distribution=histograms[batch])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()

with torch.no_grad():
    predicted, deviation = expectation(model(features[800:]), scores, return_std=True)
print(f"MAE of the mean score on unseen items: {(predicted - mean_score[800:]).abs().mean():.3f}")
constant = (mean_score[:800].median() - mean_score[800:]).abs().mean()
print(f"constant prediction: {constant:.3f}")
agreement = torch.corrcoef(torch.stack([deviation, spread[800:].double()]))[0, 1]
print(f"correlation of predicted and true disagreement: {agreement:.2f}")
