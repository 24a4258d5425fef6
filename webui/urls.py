from __future__ import annotations

from django.contrib.auth.views import LoginView, LogoutView
from django.urls import URLPattern, URLResolver, path, register_converter

from webui.api import app as api
from webui.forms import LoginForm
from webui.views import (
    api_docs,
    audit,
    bindings,
    bulk,
    docs,
    errors,
    explaining,
    exposition,
    flows,
    lists,
    objects,
    pages,
    previews,
    probing,
    revisions,
    statistics,
    visuals,
)
from webui.views.kinds import KindConverter

register_converter(KindConverter, "kind")

urlpatterns: list[URLPattern | URLResolver] = [
    path("", pages.dashboard, name="dashboard"),
    path("healthz", pages.healthz, name="healthz"),
    path("metrics", exposition.metrics, name="metrics"),
    path("statistics/", statistics.of_directors, name="director-statistics"),
    path("statistics.json", statistics.of_directors_json, name="director-statistics-json"),
    path(
        "login/",
        LoginView.as_view(authentication_form=LoginForm, redirect_authenticated_user=True),
        name="login",
    ),
    path("logout/", LogoutView.as_view(), name="logout"),
    path("settings/", pages.settings, name="settings"),
    path("services/<int:pk>/monitors/", bindings.bind_monitor, name="bind-monitor"),
    path("services/<int:pk>/monitors/<int:monitor_pk>/unbind/", bindings.unbind_monitor, name="unbind-monitor"),
    path("docs/", docs.index, name="docs"),
    path("docs/<slug:name>/", docs.page, name="docs-page"),
    path("audit/", audit.review, name="audit"),
    path("audit/chain/", audit.chained, name="audit-chain"),
    path("audit/export/<slug:name>/", audit.download, name="audit-export"),
    path("audit/<int:number>/", audit.entry, name="audit-entry"),
    path("explain/", explaining.explain, name="explain"),
    path("vservers/<int:pk>/diagram/", visuals.triangle, name="triangle"),
    path("vservers/<int:pk>/path/", visuals.packet, name="packet-path"),
    path("vservers/<int:pk>/flows/", flows.flows, name="flows"),
    path("vservers/<int:pk>/flows/watch/", flows.watch, name="watch-flows"),
    path("vservers/<int:pk>/services/", bindings.bind_service, name="bind-service"),
    path("vservers/<int:pk>/services/<int:service_pk>/weight/", bindings.set_weight, name="set-weight"),
    path("vservers/<int:pk>/services/<int:service_pk>/unbind/", bindings.unbind_service, name="unbind-service"),
    path("eventtargets/<int:pk>/test/", objects.send_test, name="send-test"),
    path("services/<int:pk>/preview/", previews.of_service, name="preview-service"),
    path("vservers/<int:pk>/preview/", previews.of_vserver, name="preview-vserver"),
    path("previews/<str:token>/", previews.show, name="preview"),
    path("monitors/<int:pk>/probe/", probing.probe, name="probe"),
    path("monitors/<int:pk>/probe/<slug:ticket>/", probing.probe_result, name="probe-result"),
    path("api/v1/", api.urls()),
    path("api/", api_docs.api_docs, name="api-docs"),
    path("revisions/", revisions.history, name="revisions"),
    path("revisions/compare/", revisions.compare, name="compare-revisions"),
    path("revisions/<int:number>/rollback/", revisions.roll_back, name="rollback"),
    path("revisions/save/", revisions.save, name="save-configuration"),
    path("revisions/trial/", revisions.begin_trial, name="begin-trial"),
    path("revisions/trial/confirm/", revisions.confirm_trial, name="confirm-trial"),
    path("revisions/trial/end/", revisions.end_trial, name="end-trial"),
    path("<kind:kind>/", lists.object_list, name="list"),
    path("<kind:kind>/export.csv", lists.export, name="export"),
    path("<kind:kind>/bulk/", bulk.ask, name="bulk"),
    path("<kind:kind>/bulk/<uuid:token>/", bulk.result, name="bulk-result"),
    path("<kind:kind>/add/", objects.object_add, name="add"),
    path("<kind:kind>/<int:pk>/", objects.object_detail, name="detail"),
    path("<kind:kind>/<int:pk>/statistics/", statistics.of_object, name="statistics"),
    path("<kind:kind>/<int:pk>/statistics.json", statistics.of_object_json, name="statistics-json"),
    path("<kind:kind>/<int:pk>/edit/", objects.object_edit, name="edit"),
    path("<kind:kind>/<int:pk>/rename/", objects.object_rename, name="rename"),
    path("<kind:kind>/<int:pk>/delete/", objects.object_delete, name="delete"),
    path("<kind:kind>/<int:pk>/enable/", objects.object_enable, name="enable"),
    path("<kind:kind>/<int:pk>/disable-after/", objects.object_disable_after, name="disable-after"),
    path("<kind:kind>/<int:pk>/disable/", objects.object_disable, name="disable"),
]

handler400 = errors.bad_request
handler404 = errors.not_found
handler500 = errors.server_error
