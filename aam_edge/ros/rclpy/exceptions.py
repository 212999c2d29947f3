"""rclpy's exceptions, and one of ours for what the facade does not cover."""

from __future__ import annotations


class NotCovered(NotImplementedError):
    """Part of rclpy that this facade does not have."""

    def __init__(self, what: str):
        super().__init__(
            f"aam-edge's rclpy over rosbridge has no {what}: run this node with the real rclpy"
        )


class NotInitializedException(Exception):
    """rclpy.init() was not called, or the context was shut down."""


class InvalidHandle(Exception):
    """Something was used after its end."""


class NameValidationException(ValueError):
    """A name that ROS does not take."""

    name_type = "name"

    def __init__(self, name: str, error_msg: str):
        super().__init__(f"Invalid {self.name_type}: {error_msg}:\n  '{name}'")


class InvalidNodeNameException(NameValidationException):
    """Of a node."""

    name_type = "node name"


class InvalidNamespaceException(NameValidationException):
    """Of a namespace."""

    name_type = "namespace"


class InvalidTopicNameException(NameValidationException):
    """Of a topic."""

    name_type = "topic name"


class InvalidServiceNameException(NameValidationException):
    """Of a service."""

    name_type = "service name"


class ParameterException(Exception):
    """What all trouble with parameters has in common."""

    def __init__(self, error_msg: str, parameters: str):
        super().__init__(f"{error_msg}: {parameters}")


class ParameterNotDeclaredException(ParameterException):
    """It was not declared."""

    def __init__(self, name: str):
        super().__init__("Invalid access to undeclared parameter(s)", name)


class ParameterAlreadyDeclaredException(ParameterException):
    """It was declared before."""

    def __init__(self, name: str):
        super().__init__("Parameter(s) already declared", name)


class ParameterUninitializedException(ParameterException):
    """It has a type and no value yet."""

    def __init__(self, name: str):
        super().__init__("The parameter is not initialized", name)


class InvalidParameterTypeException(ParameterException):
    """Its value has another type than was declared."""


class InvalidParameterValueException(ParameterException):
    """Its value was refused."""


class ParameterImmutableException(ParameterException):
    """It may not change."""
