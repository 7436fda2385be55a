"""Makers of captchas other than Kaptcha: random styles of many families, and how they are drawn."""
