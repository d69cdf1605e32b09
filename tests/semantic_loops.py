"""Loop versions of semantic attention and the gated graph, one number at a time.

B images, C classes, N cells, K channels.
"""

import math

import torch


def dot(row, column):
    return sum(a * b for a, b in zip(row, column))


def sigmoid(value):
    return 1 / (1 + math.exp(-value))


def numbers(layer):
    """Its parameters as lists."""
    return {name: parameter.tolist() for name, parameter in layer.named_parameters()}


def attend_by_loops(layer, cells, vectors):
    """Features (B, C, K) and weights (B, C, N), one number at a time, the maps as published."""
    own = numbers(layer)
    features, weights = [], []
    for image in cells.tolist():
        for vector in vectors.tolist():
            scores = []
            asking = [dot(row, vector) for row in own['label.weight']]
            for cell in image:
                asked = [dot(row, cell) for row in own['cell.weight']]
                hidden = [math.tanh(x * z) for x, z in zip(asked, asking)]
                maps = zip(own['hidden.weight'], own['hidden.bias'])
                mixed = [dot(row, hidden) + b for row, b in maps]
                scores.append(dot(own['score.weight'][0], mixed) + own['score.bias'][0])
            parts = [math.exp(score) for score in scores]
            parts = [part / sum(parts) for part in parts]
            weights.append(parts)
            features.append([dot(parts, channel) for channel in zip(*image)])
    shape = len(cells), len(vectors), -1
    return (torch.tensor(x, dtype=torch.float64).reshape(shape) for x in (features, weights))


def spread_by_loops(layer, nodes, graph):
    """(B, C, K) after all steps, one number at a time; a graph (C, C), or one each, (B, C, C)."""
    own, graphs = numbers(layer), graph.expand(len(nodes), -1, -1).tolist()
    classes, channels = range(nodes.shape[1]), range(nodes.shape[2])
    reset_u = 'update_u' if layer.reset_u is None else 'reset_u'

    def linear(name, row, k):
        return dot(own[f'{name}.weight'][k], row) + own[f'{name}.bias'][k]

    images = []
    for image, graph in zip(nodes.tolist(), graphs):
        for _ in range(layer.num_steps):
            new = []
            for c, node in enumerate(image):
                into = [sum(graph[c][j] * image[j][k] for j in classes) for k in channels]
                out = [sum(graph[j][c] * image[j][k] for j in classes) for k in channels]
                message = into + out if layer.both_ways else into
                update, reset = (
                    [sigmoid(linear(w, message, k) + linear(u, node, k)) for k in channels]
                    for w, u in (('update_w', 'update_u'), ('reset_w', reset_u))
                )
                left = [r * h for r, h in zip(reset, node)]
                found = [
                    math.tanh(linear('new_w', message, k) + linear('new_u', left, k))
                    for k in channels
                ]
                new.append([(1 - z) * h + z * f for z, h, f in zip(update, node, found)])
            image = new
        images.append(image)
    return torch.tensor(images, dtype=torch.float64)
