# SPDX-License-Identifier: Apache-2.0
"""Which policies are asked, and who may do what by them."""

from __future__ import annotations

from novadocker_dashboard import rights
from tests.cases import AdminPageTests, PageTests


class PolicyTests(AdminPageTests):
    """An administrator."""

    def test_an_administrator_may_do_all(self) -> None:
        """And allows it to an administrator."""
        for name, rules in vars(rights).items():
            if name.isupper():
                self.assertTrue(rights.may(self.request, rules), name)


class TenantPolicyTests(PageTests):
    """A tenant."""

    def test_a_tenant_may_have_containers_and_not_touch_hosts(self) -> None:
        """By Nova's own defaults."""
        may = {
            name: rights.may(self.request, getattr(rights, name))
            for name in ("SEE", "PLAN", "CHANGE", "STOP", "APPROVE", "LIST", "BOOT", "START", "LOG")
        }
        self.assertEqual({"LIST", "BOOT", "START", "LOG"}, {name for name in may if may[name]})

    def test_mistrals_policy_is_there_and_asked(self) -> None:
        """Of a service whose policy Horizon does not have it allows all."""
        self.assertFalse(rights.may(self.request, (("workflow", "admin_only"),)))
        self.assertTrue(rights.may(self.request, (("unknown", "admin_only"),)))
