from django.http import HttpResponse, HttpResponsePermanentRedirect
from django.shortcuts import get_object_or_404, redirect, render
from django.utils.cache import patch_cache_control
from django.views.decorators.cache import cache_control, never_cache

from .models import Product

SHARED = {"public": True, "max_age": 0, "s_maxage": 600, "stale_while_revalidate": 60}


@cache_control(**SHARED)
def product(request, id):
    response = HttpResponse(f"<h1>{get_object_or_404(Product, pk=id).name}</h1>")
    response["Cache-Tag"] = f"product:{id}"
    return response


def front(request):
    user = request.session.get("user")
    response = HttpResponse(f"<p>Hello, {user or 'guest'}</p>")
    patch_cache_control(response, **({"private": True} if user else SHARED))
    return response


@never_cache
def edit(request, id):
    if request.method == "GET":
        return render(request, "form.html", {"field": "name"})
    saved = get_object_or_404(Product, pk=id)
    saved.name = request.POST["name"]
    saved.save()
    return redirect(f"/products/{id}")


@never_cache
def login(request):
    if request.method == "GET":
        return render(request, "form.html", {"field": "user"})
    request.session["user"] = request.POST["user"]
    return redirect("/")


@never_cache
def account(request):
    return HttpResponse(f"<p>Hello, {request.session.get('user', 'guest')}</p>")


@never_cache
def where(request):
    return HttpResponse(request.build_absolute_uri("/products/1"))


def old(request):
    return HttpResponsePermanentRedirect(request.build_absolute_uri("/products/1"))
