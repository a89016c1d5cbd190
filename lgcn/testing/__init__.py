"""Testers of the contracts that your own parts must keep; subclass one in your tests."""

from lgcn.testing.backbones import BackboneTester

__all__ = ["BackboneTester"]
