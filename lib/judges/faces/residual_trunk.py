"""torchvision's residual networks, under which three of the published networks' weights lie key for key."""

from torchvision.models.resnet import BasicBlock, Bottleneck, ResNet

SIDE = 224  # pixels of the images that these networks were trained on


class ResNet34(ResNet):
    """With a last layer of `outputs` numbers."""

    def __init__(self, outputs):
        super().__init__(BasicBlock, [3, 4, 6, 3], num_classes=outputs)

    def pooled(self, images):
        """(B, 3, H, W) -> (B, 512)"""
        return _pooled(self, images)


class ResNet50Trunk(ResNet):
    """Without the last layer, in whose place heads of other names stand."""

    def __init__(self):
        super().__init__(Bottleneck, [3, 4, 6, 3])
        del self.fc

    def pooled(self, images):
        """(B, 3, H, W) -> (B, 2048)"""
        return _pooled(self, images)


def _pooled(network, images):
    x = network.maxpool(network.relu(network.bn1(network.conv1(images))))
    x = network.layer4(network.layer3(network.layer2(network.layer1(x))))
    return network.avgpool(x).flatten(1)
