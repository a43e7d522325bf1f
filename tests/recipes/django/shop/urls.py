from django.urls import path

from . import views

urlpatterns = [
    path("", views.front),
    path("products/<int:id>", views.product),
    path("products/<int:id>/edit", views.edit),
    path("login", views.login),
    path("account", views.account),
    path("where", views.where),
    path("old", views.old),
]
