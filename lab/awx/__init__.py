"""A double of AWX's API, written from AWX 24.6's public source (awx/api: serializers, views, generics, pagination).

It holds objects and answers as AWX does where playbooks/apply-awx.yml and collection awx.awx ask; it runs no job. It is
strict where AWX is: unique names, related ids, refused bodies, pages, fields that can't be written, playbooks that a
project doesn't have. What it doesn't know it refuses with 404 or 400, and never takes silently.
"""
