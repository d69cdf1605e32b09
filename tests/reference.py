"""Loop versions of the models' formulas, from their definitions, one scalar or vector at a time.

B images, C classes, V views, D embed dims, P projection dims. Gradients come from autograd
through the loops.
"""

import math

import torch

from projects.sadcl.models.contrastive_losses import SSCLLoss


def unit(vector, eps):
    """The vector over its length, or over eps if that is larger."""
    return vector / torch.sqrt((vector * vector).sum()).clamp(min=eps)


def safe_unit(vector, eps):
    """:func:`unit` whose gradient at the zero vector is 1 / eps, not 0 / 0."""
    return unit(vector, eps) if vector.detach().any() else vector / eps


def sscl(features, target, temperature, anchors='all', eps=0.0, offsets=False):
    """Sample-to-sample loss of (B, V, C, P), over pairs of active vectors.

    ``eps`` is added inside the logarithm, and ``offsets`` are the two detached maxima that do not
    cancel: the published code has 1e-5 and True.
    """
    num_images, num_views, num_classes, _ = features.shape
    active = [
        (view * num_images + image, label, safe_unit(features[image, view, label], 1e-12))
        for view in range(num_views)
        for image in range(num_images)
        for label in range(num_classes)
        if target[image, label] > 0
    ]
    total = features.sum() * 0.0
    for i, (row, label, z) in enumerate(active):
        if anchors == 'official' and target[row // num_views, label] <= 0:
            continue
        others = [a for a in range(len(active)) if a != i]
        partners = [p for p in others if active[p][1] == label]
        if not partners:
            continue
        similarity = {a: (z * active[a][2]).sum() / temperature for a in others}
        largest = max(0.0, max(float(s.detach()) for s in similarity.values()))
        denominator = sum(torch.exp(similarity[a] - largest) for a in others)
        total = total + torch.log(denominator + eps) + (0.0 if offsets else largest)
        for p in partners:
            offset = _image_pair_maximum(active, row, active[p][0], num_classes, temperature)
            total = total - (similarity[p] - (offset if offsets else 0.0)) / len(partners)
    return total / max(len(active), 1)


def sscl_loss(features, target, temperature=0.2, anchors='all'):
    """The library's loss of this process's batch: features (B, V, C, P), target (B, C)."""
    image, label = (target > 0).nonzero(as_tuple=True)
    loss = SSCLLoss(temperature=temperature, anchors=anchors, gather=False)
    return loss(features[image, :, label].transpose(0, 1), target, image, label)


def _image_pair_maximum(active, row, other_row, num_classes, temperature):
    """Largest similarity over the classes that two rows share; 0 stands for one they do not."""
    vectors = {(n, label): z.detach() for n, label, z in active}
    shared = [
        float((vectors[row, c] * vectors[other_row, c]).sum()) / temperature
        for c in range(num_classes)
        if (row, c) in vectors and (other_row, c) in vectors
    ]
    return max(shared + [0.0] * (len(shared) < num_classes))


def pscl(z, prototypes, target, temperature):
    """Prototype-to-sample loss of (B, C, P) and (C, P), class by class; NaN is in no sum."""
    num_images, num_classes, _ = z.shape
    total, num_pairs = (z.sum() + prototypes.sum()) * 0.0, 0
    for c in range(num_classes):
        anchor = safe_unit(prototypes[c], 1e-8)
        similarity = {
            b: (safe_unit(z[b, c], 1e-8) * anchor).sum() / temperature
            for b in range(num_images)
            if not math.isnan(target[b, c])
        }
        if not similarity:
            continue
        largest = max(float(s.detach()) for s in similarity.values())
        exponentials = {b: torch.exp(s - largest) for b, s in similarity.items()}
        present = [b for b in range(num_images) if target[b, c] > 0]
        # a class without a positive has the constant log e^0 = 0 for a numerator
        numerator = torch.log(sum(exponentials[b] for b in present)) if present else 0.0
        total = total - (numerator - torch.log(sum(exponentials.values())))
        num_pairs += len(present)
    return total / num_pairs if num_pairs else total * 0.0


def asymmetric(logits, target, gamma_pos, gamma_neg, clip, eps):
    """Elements of the asymmetric loss, (B, C); of a soft target, the mean over what it may be."""
    rows = []
    for b in range(logits.shape[0]):
        row = []
        for c in range(logits.shape[1]):
            present = 1 / (1 + torch.exp(-logits[b, c]))
            absent = 1 / (1 + torch.exp(logits[b, c]))
            if clip > 0:
                absent = (absent + clip).clamp(max=1)
            cases = []
            for right, gamma in ((present, gamma_pos), (absent, gamma_neg)):
                weight = ((1 - right) ** gamma).detach()
                cases.append(-torch.log(right.clamp(min=eps)) * weight)
            y = float(target[b, c])
            row.append({0.0: cases[1], 1.0: cases[0]}.get(y, y * cases[0] + (1 - y) * cases[1]))
        rows.append(torch.stack(row))
    return torch.stack(rows)


def group_linear(label_embeds, weight, bias):
    """One inner product per image and class: (B, C, D) to (B, C)."""
    num_images, num_classes, _ = label_embeds.shape
    scores = [
        [(label_embeds[b, c] * weight[c]).sum() + bias[c] for c in range(num_classes)]
        for b in range(num_images)
    ]
    return torch.stack([torch.stack(row) for row in scores])


def update_memory_bank(memory_bank, label_embeds, cls_score, target, threshold):
    """The bank after a step: confident positive labels overwrite their slot."""
    updated = memory_bank.clone()
    for b in range(target.shape[0]):
        for c in range(target.shape[1]):
            if target[b, c] > 0 and cls_score[b, c].sigmoid() > threshold:
                updated[b, c] = label_embeds[b, c]
    return updated


def position_encoding(height, width, embed_dims):
    """Sine position encoding (D, h, w) in float64, channel by channel."""
    half = embed_dims // 2
    encoding = torch.zeros(embed_dims, height, width, dtype=torch.float64)
    for k in range(half):
        period = 10000 ** (2 * (k // 2) / half)
        wave = math.sin if k % 2 == 0 else math.cos
        for i in range(height):
            for j in range(width):
                row = 2 * math.pi * (i + 1) / (height + 1e-6)
                column = 2 * math.pi * (j + 1) / (width + 1e-6)
                encoding[k, i, j] = wave(row / period)
                encoding[half + k, i, j] = wave(column / period)
    return encoding


def layer_norm(x, norm):
    """Each row less its mean, over its standard deviation, scaled and shifted."""
    centred = x - x.mean(dim=1, keepdim=True)
    variance = (centred * centred).mean(dim=1, keepdim=True)
    return centred / torch.sqrt(variance + norm.eps) * norm.weight + norm.bias


def attention(query, key, value, module):
    """Softmax attention of one image, head by head: the output, and the mean weights."""
    width = query.shape[1] // module.num_heads
    projected = [
        x @ weight.T + bias
        for x, weight, bias in zip(
            (query, key, value), module.in_proj_weight.chunk(3), module.in_proj_bias.chunk(3)
        )
    ]
    outputs, maps = [], []
    for head in range(module.num_heads):
        q, k, v = (x[:, head * width : (head + 1) * width] for x in projected)
        exponentials = torch.exp(q @ k.T / math.sqrt(width))
        weights = exponentials / exponentials.sum(dim=1, keepdim=True)
        maps.append(weights)
        outputs.append(weights @ v)
    joined = torch.cat(outputs, dim=1)
    return joined @ module.out_proj.weight.T + module.out_proj.bias, sum(maps) / len(maps)


def feed_forward(x, ffn):
    """Two linear maps with a rectifier between."""
    hidden = (x @ ffn[0].weight.T + ffn[0].bias).clamp(min=0)
    return hidden @ ffn[3].weight.T + ffn[3].bias


def sarl(neck, feature_map, pos):
    """Evaluation forward of SARLNeck, image by image, with positions (D, h, w).

    Returns the embeddings (B, C, D) and the attention maps (B, C, h, w).
    """
    height, width = feature_map.shape[-2:]
    pos = pos.flatten(1).T
    embeds, maps = [], []
    for image in feature_map:
        memory = torch.stack([image[:, i, j] for i in range(height) for j in range(width)])
        if neck.in_channels != neck.embed_dims:
            memory = memory @ neck.input_proj.weight[:, :, 0, 0].T + neck.input_proj.bias
        for layer in neck.encoder:
            attended, _ = attention(memory + pos, memory + pos, memory, layer.attn)
            memory = layer_norm(memory + attended, layer.attn_norm)
            memory = layer_norm(memory + feed_forward(memory, layer.ffn), layer.ffn_norm)
        queries = neck.query_embed.weight
        content = torch.zeros_like(queries)
        for layer in neck.decoder:
            attended, weights = attention(content + queries, memory + pos, memory, layer.attn)
            content = layer_norm(content + attended, layer.attn_norm)
            content = layer_norm(content + feed_forward(content, layer.ffn), layer.ffn_norm)
        embeds.append(layer_norm(content, neck.decoder_norm))
        maps.append(weights.reshape(-1, height, width))
    return torch.stack(embeds), torch.stack(maps)
