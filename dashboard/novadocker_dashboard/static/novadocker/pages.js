// SPDX-License-Identifier: Apache-2.0
// Asks for what changes in a page, opens the frame's menus, and sends a form once.
(function () {
  'use strict';

  var AFTER_A_FAULT_MS = 10000;

  function follow(box) {
    var every = Number(box.dataset.everyMs) || 2500;

    function again(ms) {
      if (!box.querySelector('[data-ended="yes"]')) {
        window.setTimeout(look, ms);
      }
    }

    function look() {
      var selection = window.getSelection();
      // A page that nobody sees asks for nothing, and what is being copied stays.
      if (document.hidden || (!selection.isCollapsed && box.contains(selection.anchorNode))) {
        again(every);
        return;
      }
      fetch(box.dataset.refresh, {
        credentials: 'same-origin',
        redirect: 'error',
        headers: {'X-Requested-With': 'XMLHttpRequest'}
      }).then(function (answer) {
        if (answer.status === 401) {
          // The session has ended: Horizon says where to log in.
          window.location.assign(answer.headers.get('X-Horizon-Location') || window.location.href);
          return null;
        }
        if (!answer.ok && answer.status !== 404) {
          throw new Error(answer.status);
        }
        return answer.text().then(function (text) {
          replace(text);
          again(every);
        });
      }).catch(function () {
        box.classList.add('novadocker-waiting');
        again(AFTER_A_FAULT_MS);
      });
    }

    // What an element is about, which is the same after it was replaced.
    function about(element) {
      return element.getAttribute('href') || element.getAttribute('formaction') || element.className;
    }

    function same(element) {
      return Array.prototype.find.call(box.querySelectorAll(element.tagName), function (other) {
        return about(other) === about(element);
      });
    }

    function replace(text) {
      var active = box.contains(document.activeElement) ? document.activeElement : null;
      var scrolled = Array.prototype.map.call(box.querySelectorAll('pre'), function (log) {
        var atEnd = log.scrollTop + log.clientHeight >= log.scrollHeight - 2;
        return {log: log, top: log.scrollTop, atEnd: atEnd};
      });
      box.innerHTML = text;
      box.classList.remove('novadocker-waiting');
      scrolled.forEach(function (was) {
        var now = same(was.log);
        if (now) {
          now.scrollTop = was.atEnd ? now.scrollHeight : was.top;
        }
      });
      if (active && same(active)) {
        same(active).focus({preventScroll: true});
      }
    }

    Array.prototype.forEach.call(box.querySelectorAll('pre'), function (log) {
      log.scrollTop = log.scrollHeight;
    });
    again(every);
  }

  Array.prototype.forEach.call(document.querySelectorAll('[data-refresh]'), follow);

  document.addEventListener('click', function (event) {
    var menu = event.target.closest('[data-toggle="dropdown"]');
    var part = event.target.closest('[data-toggle="collapse"]');
    Array.prototype.forEach.call(document.querySelectorAll('.dropdown.open'), function (open) {
      if (!menu || open !== menu.parentNode) {
        open.classList.remove('open');
      }
    });
    if (menu) {
      event.preventDefault();
      menu.setAttribute('aria-expanded', String(menu.parentNode.classList.toggle('open')));
    } else if (part) {
      var target = document.querySelector(part.dataset.target || part.getAttribute('href'));
      if (target) {
        event.preventDefault();
        var opened = target.classList.toggle('in');
        part.classList.toggle('collapsed', !opened);
        part.setAttribute('aria-expanded', String(opened));
      }
    } else if (event.target.closest('[data-dismiss="alert"]')) {
      event.preventDefault();
      event.target.closest('.alert').remove();
    }
  });

  document.addEventListener('submit', function (event) {
    if (event.target.method !== 'post') {
      return;
    }
    if (event.target.dataset.sent) {
      event.preventDefault();
      return;
    }
    event.target.dataset.sent = 'yes';
  });

  // A page that is shown again by the browser's own history can be sent again.
  window.addEventListener('pageshow', function () {
    Array.prototype.forEach.call(document.forms, function (form) {
      delete form.dataset.sent;
    });
  });
}());
